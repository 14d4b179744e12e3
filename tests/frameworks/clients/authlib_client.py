"""Authlib as a public client: a refresh, a scope that was not granted, a revocation, and the refresh after it."""

import sys

from authlib.integrations.requests_client import OAuth2Session, OAuthError

base, refresh_token, client_id, scope = sys.argv[1:]


def client(scope):
    return OAuth2Session(client_id, scope=scope, token_endpoint_auth_method="none")


def refused(scope, refresh_token):
    try:
        client(scope).refresh_token(f"{base}/refresh", refresh_token=refresh_token)
    except OAuthError as error:
        return error.error
    return None


token = client(scope).refresh_token(f"{base}/refresh", refresh_token=refresh_token)
assert token["token_type"] == "Bearer" and token["scope"] == scope, token.keys()
newer = token["refresh_token"]
assert newer != refresh_token
assert refused("admin", newer) == "invalid_scope"
answer = client(scope).revoke_token(f"{base}/revoke", token=newer, token_type_hint="refresh_token")
assert answer.status_code == 200, answer.status_code
assert refused(scope, newer) == "invalid_grant"
