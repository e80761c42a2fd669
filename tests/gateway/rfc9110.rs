//! Crafted messages, and what a proxy has to make of them by RFC 9110, 7.6.1: the oracle for
//! `headers.rs`, written without a look at the program.

/// Header lines of a request, `|` between two, and its body.
pub(crate) const REQUESTS: &[(&str, &str)] = &[
    ("accept: */*|x-a: 1|x-a: 2", ""),
    ("connection: close|x-a: 1", ""),
    ("connection: keep-alive", ""),
    ("connection:|x-a: 1", ""),
    ("connection: x-a|x-a: 1|x-b: 2", ""),
    ("Connection: X-A|x-a: 1", ""),
    ("connection: x-A|X-a: 1", ""),
    ("connection: x-a,x-b,x-c|x-a: 1|x-b: 1|x-c: 1|x-d: 1", ""),
    ("connection: x-a \t,\t x-b|x-a: 1|x-b: 1", ""),
    ("connection: ,, x-a,,|x-a: 1|x-b: 1", ""),
    ("connection: x-a|connection: x-b|x-a: 1|x-b: 1|x-c: 1", ""),
    ("connection: close, x-a|x-a: 1|x-a: 2", ""),
    ("connection: connection, x-a|x-a: 1", ""),
    ("connection: x-absent|x-a: 1", ""),
    ("connection: b@d, x-a|x-a: 1|x-b: 1", ""),
    ("connection: x-a x-b|x-a: 1|x-b: 1", ""),
    ("connection: \"x-a\"|x-a: 1", ""),
    ("connection: x-\u{e9}|x-a: 1", ""),
    ("connection: x-a;q=1|x-a: 1", ""),
    ("connection: host|x-a: 1", ""),
    ("connection: HOST, close", ""),
    ("connection: content-length|content-length: 5", "12345"),
    ("connection: content-length, host|content-length: 0", ""),
    ("content-length: 5", "12345"),
    ("connection: x-forwarded-for|x-forwarded-for: 10.0.0.1", ""),
    ("connection: x-forwarded-for", ""),
    ("connection: X-Forwarded-For, x-forwarded-host|x-forwarded-host: h", ""),
    ("connection: x-forwarded-proto|x-forwarded-proto: https", ""),
    ("x-forwarded-for: 10.0.0.1", ""),
    ("x-forwarded-for: 10.0.0.1, 10.0.0.2|x-forwarded-for: 10.0.0.3", ""),
    ("x-forwarded-for:", ""),
    ("x-forwarded-for: <script>, 1", ""),
    ("connection: cookie, authorization|cookie: a=1|authorization: b", ""),
    ("connection: cache-control|cache-control: no-store", ""),
    ("connection: x-served-by|x-served-by: me", ""),
    ("te: trailers", ""),
    ("te: gzip", ""),
    ("te: gzip, trailers", ""),
    ("te: gzip|te: Trailers", ""),
    ("connection: te|te: trailers", ""),
    ("connection: te|te: deflate;q=0.5", ""),
    ("keep-alive: timeout=5, max=100", ""),
    ("connection: keep-alive|keep-alive: timeout=5", ""),
    ("proxy-connection: keep-alive", ""),
    ("proxy-authorization: Basic eDp5", ""),
    ("proxy-authenticate: Basic", ""),
    ("proxy-anything: 1|proxyx: 1|x-proxy-a: 1", ""),
    ("trailer: x-sum|x-a: 1", ""),
    ("transfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
    ("transfer-encoding: chunked|trailer: x-sum", "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"),
    ("connection: transfer-encoding|transfer-encoding: chunked", "0\r\n\r\n"),
    ("transfer-encoding: chunked|content-length: 3", "3\r\nabc\r\n0\r\n\r\n"),
    ("content-length: 3|transfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
    ("upgrade: websocket", ""),
    ("connection: upgrade", ""),
    ("connection: upgrade|upgrade: websocket", ""),
    ("connection: keep-alive, UpGrade|Upgrade: WebSocket|sec-websocket-version: 13", ""),
    ("connection: upgrade, x-a|upgrade: foo/1, bar|x-a: 1", ""),
    ("connection: upgrade|upgrade: h2c", ""),
    ("connection: upgrade, http2-settings|upgrade: h2c|http2-settings: AAMAAABk", ""),
    ("connection: upgrade|upgrade: websocket, H2C", ""),
    ("forwarded: for=1.2.3.4|via: 1.0 fred|max-forwards: 3", ""),
];

/// The same of responses; each has `content-length: 2` besides.
pub(crate) const RESPONSES: &[&str] = &[
    "x-a: 1|x-a: 2",
    "connection: keep-alive|keep-alive: timeout=5",
    "connection: close",
    "connection: x-a|x-a: 1|x-b: 1",
    "connection: X-A, x-b|x-a: 1|X-B: 1",
    "connection: content-length, x-a|x-a: 1",
    "connection: set-cookie|set-cookie: a=1",
    "proxy-authenticate: Basic|proxy-connection: close|proxy-status: a",
    "trailer: x-sum",
    "upgrade: h2c",
    "connection: upgrade|upgrade: h2c, websocket",
    "te: trailers",
    "connection: x-forwarded-for|x-forwarded-for: 1",
    "connection: b@d,, x-a|x-a: 1",
];

pub(crate) type Fields = Vec<(String, String)>;

pub(crate) fn fields(lines: &str) -> Fields {
    let split = lines.split('|').filter_map(|line| line.split_once(':'));
    split.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

fn list(fields: &Fields, name: &str) -> Vec<String> {
    let lines = fields.iter().filter(|field| field.0 == name);
    let members = lines.flat_map(|field| field.1.split(','));
    members.map(|member| member.trim().to_ascii_lowercase()).filter(|m| !m.is_empty()).collect()
}

/// RFC 9110, 7.6.1, word for word and without the cleverness of the program.
pub(crate) fn end_to_end(fields: &Fields) -> Fields {
    let named = list(fields, "connection");
    let is_ours =
        |name: &str| name == "host" || name == "content-length" || name.starts_with("x-forwarded-");
    let of_the_connection =
        ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
    let goes = |name: &String| {
        name.starts_with("proxy-")
            || of_the_connection.contains(&name.as_str())
            || (named.contains(name) && !is_ours(name))
    };
    fields.iter().filter(|field| !goes(&field.0)).cloned().collect()
}

/// What the endpoint has to see of a request.
pub(crate) fn at_the_endpoint(sent: &Fields) -> Fields {
    let mut seen = end_to_end(sent);
    let mut set = |name: &str, value: String| seen.push((name.to_owned(), value));
    if list(sent, "te").contains(&"trailers".to_owned()) {
        set("te", "trailers".to_owned());
    }
    let upgrade = list(sent, "upgrade");
    let is_asked = list(sent, "connection").contains(&"upgrade".to_owned());
    if is_asked && !upgrade.is_empty() && !upgrade.contains(&"h2c".to_owned()) {
        set("connection", "upgrade".to_owned());
        set("upgrade", upgrade.join(", "));
    }
    if !list(sent, "transfer-encoding").is_empty() {
        set("transfer-encoding", "chunked".to_owned());
        seen.retain(|field| field.0 != "content-length"); // RFC 9112, 6.3
    }
    let mut addresses: Vec<String> = Vec::new();
    addresses.extend(seen.iter().filter(|f| f.0 == "x-forwarded-for").map(|f| f.1.clone()));
    addresses.retain(|line| !line.is_empty());
    addresses.push("127.0.0.1".to_owned());
    seen.retain(|field| field.0 != "x-forwarded-for");
    seen.push(("x-forwarded-for".to_owned(), addresses.join(", ")));
    seen
}

pub(crate) fn sorted(mut fields: Fields) -> Fields {
    for field in &mut fields {
        // The name of a protocol may arrive in any case.
        if field.0 == "upgrade" {
            field.1.make_ascii_lowercase();
        }
    }
    fields.sort();
    fields
}

pub(crate) fn of_head(head: &str) -> Fields {
    sorted(fields(&head.split("\r\n").skip(1).collect::<Vec<_>>().join("|")))
}
