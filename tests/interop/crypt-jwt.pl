# Perl's Crypt::JWT: reads requests, and prints the same lines with its answers. See README.md.
use strict;
use warnings;

use Crypt::JWT qw(decode_jwt encode_jwt);
use JSON::PP;
use MIME::Base64 qw(decode_base64url);

my $json = JSON::PP->new->utf8->canonical;
while (my $line = <STDIN>) {
    my $request = $json->decode($line);
    @$request{qw(peer version)} = @ENV{qw(PEER VERSION)};
    my ($key, $alg) = (decode_base64url($request->{key}), $request->{alg});
    if ($request->{direction} eq 'theirs') {
        $request->{token} = encode_jwt(payload => $request->{claims}, key => $key, alg => $alg);
    } else {
        my %options = (token => $request->{token}, key => $key, accepted_alg => $alg);
        # It only compares an audience with a string, or passes it to a function.
        if (defined(my $audience = $request->{audience})) {
            $options{verify_aud} = sub {
                my ($found) = @_;
                return scalar grep { $_ eq $audience } ref $found ? @$found : $found;
            };
        }
        my $read = eval { decode_jwt(%options) };
        $request->{verdict} = defined $read ? 'accepted' : 'refused';
        $request->{read} = $read if defined $read;
    }
    print $json->encode($request), "\n";
}
