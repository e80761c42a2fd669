//! Hop-by-hop headers, both ways: crafted messages, and what has to arrive by RFC 9110, 7.6.1.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::rfc9110::{
    Fields, REQUESTS, RESPONSES, at_the_endpoint, end_to_end, fields, of_head, sorted,
};
use crate::support::{Backend, Gateway};
use crate::wire::{exchange, read_head, soon};

/// An endpoint that hands over every request head it gets, as it came over the wire.
async fn witness() -> (Backend, mpsc::UnboundedReceiver<String>) {
    let (heads, seen) = mpsc::unbounded_channel();
    let backend = Backend::raw("witness", move |mut stream: TcpStream| {
        let heads = heads.clone();
        async move {
            let _ = heads.send(read_head(&mut stream).await);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    (backend, seen)
}

#[tokio::test]
async fn requests_over_http_1_arrive_as_the_rfc_says() {
    assert!(REQUESTS.len() >= 40);
    let (backend, mut seen) = witness().await;
    let gateway = Gateway::over(&[&backend]).await;
    for (lines, body) in REQUESTS {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let head = format!("{method} / HTTP/1.1\r\nhost: gateway.test\r\n");
        let bytes = format!("{head}{}\r\n\r\n{body}", lines.replace('|', "\r\n"));
        let mut client = TcpStream::connect(gateway.listen).await.unwrap();
        client.write_all(bytes.as_bytes()).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 "), "{lines}");
        let head = soon("the request", seen.recv()).await.unwrap();
        let expected = at_the_endpoint(&fields(&format!("host: gateway.test|{lines}")));
        assert_eq!(of_head(&head), sorted(expected), "{lines}");
    }
}

/// HTTP/2 has no connection headers: with one the request is malformed (RFC 9113, 8.2.2).
fn is_malformed_over_http_2(sent: &Fields) -> bool {
    let banned = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    sent.iter().any(|(name, value)| {
        banned.contains(&name.as_str()) || (name == "te" && value != "trailers")
    })
}

#[tokio::test]
async fn requests_over_http_2_arrive_as_the_rfc_says_or_are_refused() {
    let (backend, mut seen) = witness().await;
    let gateway = Gateway::over(&[&backend]).await;
    for (lines, _) in REQUESTS.iter().filter(|(_, body)| body.is_empty()) {
        let sent = fields(lines);
        let is_answered = http_2_request(&gateway, &sent).await;
        assert_eq!(is_answered, !is_malformed_over_http_2(&sent), "{lines}");
        if is_answered {
            let head = soon("the request", seen.recv()).await.unwrap();
            let expected = at_the_endpoint(&fields(&format!("host: gateway.test|{lines}")));
            assert_eq!(of_head(&head), sorted(expected), "{lines}");
        }
        assert!(seen.try_recv().is_err(), "a refused request went through: {lines}");
    }
}

/// Sends a request frame by frame, as no well-behaved client would, and says whether there was a
/// response rather than a reset.
async fn http_2_request(gateway: &Gateway, sent: &Fields) -> bool {
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const GO_AWAY: u8 = 7;
    let mut block = Vec::new();
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let pseudo = pseudo.into_iter().chain([(":authority", "gateway.test")]);
    let sent = sent.iter().map(|field| (field.0.as_str(), field.1.as_str()));
    for (name, value) in pseudo.chain(sent) {
        // HPACK: a literal that is not indexed, with a new name, no Huffman coding.
        let lengths = [name.len() as u8, value.len() as u8];
        assert!(lengths.iter().all(|length| *length < 127));
        block.extend_from_slice(&[0, lengths[0]]);
        block.extend_from_slice(name.as_bytes());
        block.push(lengths[1]);
        block.extend_from_slice(value.as_bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&(block.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[HEADERS, 0x5, 0, 0, 0, 1]); // END_STREAM and END_HEADERS, stream 1
    bytes.extend_from_slice(&block);
    let mut stream = TcpStream::connect(gateway.listen).await.expect("a connection");
    stream.write_all(&bytes).await.expect("sent");
    soon("a frame of stream 1", async {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return false;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            stream.read_exact(&mut vec![0; length]).await.expect("a whole frame");
            match head[3] {
                HEADERS => return true,
                RESET | GO_AWAY => return false,
                _ => {}
            }
        }
    })
    .await
}

#[tokio::test]
async fn responses_arrive_as_the_rfc_says() {
    for lines in RESPONSES {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{}\r\n\r\nok",
            lines.replace('|', "\r\n")
        );
        let backend = Backend::raw("a", move |mut stream: TcpStream| {
            let answer = answer.clone();
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let gateway = Gateway::over(&[&backend]).await;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answer = exchange(gateway.listen, request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut got = of_head(head);
        // What the gateway says of its own connection to the client.
        got.retain(|field| field.0 != "date" && *field != ("connection".into(), "close".into()));
        let expected = end_to_end(&fields(&format!("content-length: 2|{lines}")));
        assert_eq!((got, body), (sorted(expected), "ok"), "{lines}");
    }
}
