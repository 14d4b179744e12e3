/* libjwt: reads requests, and prints the same lines with its answers. See README.md. It only
 * compares an audience with a string, so that this program ignores the audience of a request. */
#include <jansson.h>
#include <jwt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int right, const char *what)
{
    if (!right) {
        fprintf(stderr, "libjwt peer: %s\n", what);
        exit(1);
    }
}

/* base64url without padding, of at most 64 bytes. */
static int decode_key(const char *text, unsigned char *key)
{
    static const char symbols[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned int bits = 0, held = 0, length = 0;
    for (; *text; text++) {
        const char *symbol = strchr(symbols, *text);
        check(symbol && length < 64, "no key");
        bits = bits << 6 | (unsigned int)(symbol - symbols);
        held += 6;
        if (held >= 8) {
            held -= 8;
            key[length++] = (unsigned char)(bits >> held);
        }
    }
    return (int)length;
}

static const char *text(json_t *request, const char *name)
{
    const char *value = json_string_value(json_object_get(request, name));
    check(value != NULL, name);
    return value;
}

static void sign(json_t *request, jwt_alg_t alg, const unsigned char *key, int length)
{
    jwt_t *jwt = NULL;
    char *claims = json_dumps(json_object_get(request, "claims"), 0);
    check(!jwt_new(&jwt) && !jwt_set_alg(jwt, alg, key, length), "jwt_set_alg");
    check(!jwt_add_grants_json(jwt, claims), "jwt_add_grants_json");
    char *token = jwt_encode_str(jwt);
    check(token != NULL, "jwt_encode_str");
    json_object_set_new(request, "token", json_string(token));
    free(claims);
    free(token);
    jwt_free(jwt);
}

static void verify(json_t *request, jwt_alg_t alg, const unsigned char *key, int length)
{
    jwt_t *jwt = NULL;
    /* libjwt uses the algorithm of the header. The caller has to compare it with the expected one. */
    int accepted = !jwt_decode(&jwt, text(request, "token"), key, length) && jwt_get_alg(jwt) == alg;
    json_object_set_new(request, "verdict", json_string(accepted ? "accepted" : "refused"));
    if (accepted) {
        char *claims = jwt_get_grants_json(jwt, NULL);
        json_t *read = claims ? json_loads(claims, 0, NULL) : NULL;
        check(read != NULL, "jwt_get_grants_json");
        json_object_set_new(request, "read", read);
        free(claims);
    }
    jwt_free(jwt);
}

int main(void)
{
    json_t *request;
    while ((request = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, NULL))) {
        unsigned char key[64];
        int length = decode_key(text(request, "key"), key);
        jwt_alg_t alg = jwt_str_alg(text(request, "alg"));
        json_object_set_new(request, "peer", json_string(getenv("PEER")));
        json_object_set_new(request, "version", json_string(getenv("VERSION")));
        if (!strcmp(text(request, "direction"), "theirs"))
            sign(request, alg, key, length);
        else
            verify(request, alg, key, length);
        json_dumpf(request, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(request);
    }
    return 0;
}
