# Varnish for this job. Words between at-signs are filled in by varnish.rs.

vcl 4.1;

backend monime {
    .host = "127.0.0.1";
    .port = "@ORIGIN@";
}

sub vcl_recv {
    if (req.http.Authorization != "Bearer @KEY@") {
        return (synth(401));
    }
    # The built-in rules would not look such a request up.
    unset req.http.Authorization;
    # hash: look it up, and let all that ask at once wait for one. pass: neither.
    return (@LOOK@);
}

sub vcl_hash {
    hash_data(req.http.Monime-Space-Id);
    hash_data(req.url);
    return (lookup);
}

sub vcl_backend_fetch {
    set bereq.http.Authorization = "Bearer @TOKEN@";
}

sub vcl_backend_response {
    # For as long as the origin's Cache-Control says, and not a moment longer: without a module of its own, Varnish cannot
    # see in a body whether a session has settled.
    set beresp.grace = 0s;
}
