"""Deploys an exported version: changes the Argo CD Application and verifies every pod."""
