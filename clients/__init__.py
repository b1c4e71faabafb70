"""Other people's APIs, one client each, for stages and commands alike. The Lambdas have adapters of their own."""
