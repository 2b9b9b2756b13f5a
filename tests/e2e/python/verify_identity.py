"""An upstream that verifies signed identities: URL of the key set, ISSUER, AUDIENCE, TOKEN.

Prints the claims, or `refused` and why.
"""

import json
import sys
import urllib.request

import jwt

url, issuer, audience, token = sys.argv[1:5]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(url, timeout=20) as answer:
    keys = jwt.PyJWKSet.from_dict(json.load(answer))
try:
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(
        token,
        key,
        algorithms=["EdDSA"],
        issuer=issuer,
        audience=audience,
        options={"require": ["iss", "sub", "aud", "iat", "exp"]},
    )
    print(json.dumps(claims))
except jwt.InvalidTokenError as error:
    print("refused", type(error).__name__)
