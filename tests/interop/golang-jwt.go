// golang-jwt: reads requests, and prints the same lines with its answers. See README.md.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"

	"github.com/golang-jwt/jwt"
)

func main() {
	requests := json.NewDecoder(os.Stdin)
	// Keeps the digits of numbers, because the line is printed again.
	requests.UseNumber()
	for {
		request := map[string]interface{}{}
		err := requests.Decode(&request)
		if err == io.EOF {
			return
		}
		check(err)
		request["peer"], request["version"] = os.Getenv("PEER"), os.Getenv("VERSION")
		key, err := base64.RawURLEncoding.DecodeString(request["key"].(string))
		check(err)
		if request["direction"] == "theirs" {
			request["token"] = sign(request, key)
		} else if claims := verify(request, key); claims != nil {
			request["verdict"], request["read"] = "accepted", claims
		} else {
			request["verdict"] = "refused"
		}
		line := bytes.Buffer{}
		answers := json.NewEncoder(&line)
		answers.SetEscapeHTML(false)
		check(answers.Encode(request))
		_, err = os.Stdout.Write(line.Bytes())
		check(err)
	}
}

func sign(request map[string]interface{}, key []byte) string {
	claims := jwt.MapClaims(request["claims"].(map[string]interface{}))
	token, err := jwt.NewWithClaims(jwt.GetSigningMethod(request["alg"].(string)), claims).SignedString(key)
	check(err)
	return token
}

func verify(request map[string]interface{}, key []byte) jwt.MapClaims {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{request["alg"].(string)}), jwt.WithJSONNumber())
	token, err := parser.Parse(request["token"].(string), func(*jwt.Token) (interface{}, error) { return key, nil })
	if err != nil {
		return nil
	}
	claims := token.Claims.(jwt.MapClaims)
	if audience, named := request["audience"].(string); named && !claims.VerifyAudience(audience, true) {
		return nil
	}
	return claims
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
