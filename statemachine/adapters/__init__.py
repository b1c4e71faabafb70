"""The production adapters. Vendor errors stop here and become ours."""
