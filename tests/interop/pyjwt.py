"""PyJWT: requests in, the same lines with its answers out. See README.md."""

import base64
import json
import os
import sys

import jwt

for line in sys.stdin:
    request = json.loads(line)
    request |= {"peer": os.environ["PEER"], "version": os.environ["VERSION"]}
    key = base64.urlsafe_b64decode(request["key"] + "==")
    if request["direction"] == "theirs":
        request["token"] = jwt.encode(request["claims"], key, algorithm=request["alg"])
    else:
        try:
            request["read"] = jwt.decode(
                request["token"], key, algorithms=[request["alg"]], audience=request.get("audience")
            )
            request["verdict"] = "accepted"
        except jwt.InvalidTokenError:
            request["verdict"] = "refused"
    print(json.dumps(request, ensure_ascii=False))
