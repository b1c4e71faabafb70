"""What `AWS::Serverless` becomes in an account: the template's plain CloudFormation, as JSON on standard output.

    .venv-aws/bin/python deploy/tools/sam_translate.py packaged.yaml > plain.json

AWS does this itself when a stack is deployed. Offline it serves review and the tests: moto knows only plain resources.
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
    # No managed policies by name are used, so the map may be empty: each role is written out in the template.
    print(json.dumps(Translator({}, Parser()).translate(template, {}), indent=1))
