"""Translates the SAM template into plain CloudFormation, as JSON on standard output.

    .venv-aws/bin/python deploy/tools/sam_translate.py packaged.yaml > plain.json

AWS does this itself when it deploys a stack. Review and tests need it offline, because moto knows only plain resources.
"""

import json
import os
import sys
from pathlib import Path

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

if __name__ == "__main__":
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    template = yaml_parse(Path(sys.argv[1]).read_text())
    # No managed policies are used by name, so the map may be empty: the template writes out each role.
    print(json.dumps(Translator({}, Parser()).translate(template, {}), indent=1))
