"""From an exported version to verified pods: the Argo CD Application and the check of every pod."""
