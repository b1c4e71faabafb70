"""From a model to one that serves: export, golden requests, the Argo CD Application, the proof."""
