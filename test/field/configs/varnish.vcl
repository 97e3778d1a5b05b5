vcl 4.1;
backend bench { .host = "127.0.0.1"; .port = "{{.UpstreamPort}}"; }
sub vcl_recv {
  if (req.url !~ "^/cached/") { return (pass); }
  return (hash);
}
