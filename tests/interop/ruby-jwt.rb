# ruby-jwt: reads requests, and prints the same lines with its answers. See README.md.
require "base64"
require "json"
require "jwt"

$stdin.set_encoding("UTF-8")
$stdin.each_line do |line|
  request = JSON.parse(line)
  request.update("peer" => ENV["PEER"], "version" => ENV["VERSION"])
  key = Base64.urlsafe_decode64(request["key"])
  if request["direction"] == "theirs"
    request["token"] = JWT.encode(request["claims"], key, request["alg"])
  else
    begin
      audience = request["audience"]
      options = { algorithm: request["alg"], aud: audience, verify_aud: !audience.nil?, verify_iat: true }
      request["read"] = JWT.decode(request["token"], key, true, options).first
      request["verdict"] = "accepted"
    rescue JWT::DecodeError
      request["verdict"] = "refused"
    end
  end
  puts JSON.generate(request)
end
