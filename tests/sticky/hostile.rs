//! What is no token is ignored and counted.

use std::time::{Duration, Instant};

use whippletree::sticky::{Counts, SessionState};

use crate::world::{User, World};

const TWO: [(&str, u16); 2] = [("a", 1), ("b", 1)];

/// What is counted for a request with these headers, beside the session that it begins.
async fn counted(world: &World, cookies: &[&[u8]]) -> Counts {
    let before = world.layer.counts();
    let answer = world.with_cookies(cookies).await;
    assert_eq!(answer.session.state, SessionState::New);
    assert!(answer.set.is_some());
    let mut counts = world.layer.counts();
    counts.malformed -= before.malformed;
    counts.forged -= before.forged;
    counts.expired -= before.expired;
    counts.future -= before.future;
    counts
}

#[tokio::test(start_paused = true)]
async fn bad_tokens_begin_a_session_and_are_counted() {
    let world = World::new(&TWO);
    let valid = User::default().get(&world).await.cookie();
    let cut = &valid.as_bytes()[..valid.len() - 1];
    let longer = format!("{valid}A");
    let mut forged = valid.clone().into_bytes();
    forged[20] ^= 1;
    let huge = [b"SRV=".as_slice(), &vec![b'A'; 1 << 20]].concat();
    for malformed in
        [cut, longer.as_bytes(), &huge, b"SRV=", b"SRV=\xff\xfe", b"SRV=\"", b"SRV=http://10.0.0.1"]
    {
        assert_eq!(counted(&world, &[malformed]).await.malformed, 1);
    }
    let quoted = format!("SRV=\"{}\"", &valid[4..]);
    assert_eq!(counted(&world, &[quoted.as_bytes()]).await.malformed, 1);
    assert_eq!(counted(&world, &[&forged]).await.forged, 1);
    let wrong = [b"SRV=".as_slice(), &[0xe4; 72]].concat();
    assert_eq!(counted(&world, &[&wrong]).await.forged, 1);

    world.set_back(Duration::from_secs(60));
    assert_eq!(world.with_cookies(&[valid.as_bytes()]).await.session.state, SessionState::Home);
    world.set_back(Duration::from_millis(1));
    assert_eq!(counted(&world, &[valid.as_bytes()]).await.future, 1);
    world.pass(Duration::from_secs(60 + 31 * 60)).await;
    assert_eq!(counted(&world, &[valid.as_bytes()]).await.expired, 1);
}

#[tokio::test(start_paused = true)]
async fn first_good_token_wins_however_many_bad_ones_stand_before_it() {
    let world = World::new(&TWO);
    let (one, other) =
        (User::default().get(&world).await.cookie(), User::default().get(&world).await.cookie());
    let mut forged = one.clone().into_bytes();
    forged[10] ^= 3;
    let forged = String::from_utf8_lossy(&forged).into_owned();
    let first = format!("SRV=junk; {forged}; {one}; {other}");
    let expected = world.with_cookies(&[one.as_bytes()]).await.session.id;
    assert_eq!(world.with_cookies(&[first.as_bytes()]).await.session.id, expected);
    let apart: [&[u8]; 3] = [b"SRV=junk", one.as_bytes(), other.as_bytes()];
    assert_eq!(world.with_cookies(&apart).await.session.id, expected);
}

#[tokio::test(start_paused = true)]
async fn cookie_bombs_are_harmless() {
    let world = World::new(&TWO);
    let valid = User::default().get(&world).await.cookie();
    let (head, last) = valid.split_at(valid.len() - 1);
    let forged = format!("{head}{}", if last == "A" { "Q" } else { "A" });
    let many = |pair: &str, times: usize| vec![pair; times].join("; ").into_bytes();
    let bombs = [
        many("x", 32 * 1024),
        many("name=value", 4096),
        many(&forged, 10_000),
        many("SRV=x", 10_000),
        many("x=\"unterminated", 4000),
        [many("y=\tä", 9000), valid.clone().into_bytes()].concat(),
    ];
    for bomb in &bombs {
        let start = Instant::now();
        let answer = world.with_cookies(&[bomb]).await;
        assert_eq!(answer.session.state, SessionState::New);
        // 100 µs when optimised; this build checks everything, on a machine that is shared.
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    }
    let counts = world.layer.counts();
    assert_eq!((counts.forged, counts.malformed), (32, 32), "no more are checked");
    assert_eq!(world.with_cookies(&[valid.as_bytes()]).await.session.state, SessionState::Home);
}

/// What the fuzz target does with feedback, without it: for two seconds or a hundred thousand times.
#[tokio::test(start_paused = true)]
async fn random_mutations_of_good_headers_do_no_harm() {
    let mut state = 11_u64;
    let mut random = |below: usize| {
        // Knuth's generator (MMIX); the high bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let world = World::new(&TWO);
    let valid = User::default().get(&world).await;
    let seed = format!("a=b; {}; c=\"d\"; SRV=x", valid.cookie()).into_bytes();
    let until = Instant::now() + Duration::from_secs(2);
    let mut tried = 0;
    while tried < 100_000 && Instant::now() < until {
        let mut bytes = seed.clone();
        for _ in 0..1 + random(5) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at + 1),
                2 => bytes.insert(at, b"; =\""[random(4)]),
                _ => bytes.extend_from_within(..at),
            }
        }
        if http::HeaderValue::from_bytes(&bytes).is_ok() {
            let answer = world.with_cookies(&[&bytes]).await;
            let known = answer.session.id == valid.session.id;
            let intact = bytes.windows(76).any(|window| window == valid.cookie().as_bytes());
            assert!(!known || intact, "{}", String::from_utf8_lossy(&bytes));
            tried += 1;
        }
    }
    assert!(tried > 1000);
}
