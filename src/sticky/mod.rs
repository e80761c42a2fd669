//! Sticky sessions: a user comes back to the endpoint where the session lives (feature `cookie`).
//!
//! [`StickyLayer`] stands above a [`Balance`](crate::Balance). It gives every browser a cookie that
//! names its **home**, asks the balance for that endpoint by the request's
//! [`Context`](crate::Context), and sees who has served by the response's
//! [`ServedBy`](crate::balance::ServedBy). No session is stored anywhere: all is in the cookie, so that
//! balancers with the same keys agree, and a restart forgets nobody.
//!
//! ```
//! use http::{Request, Response, header};
//! use tower::{Layer, ServiceExt, service_fn};
//! use whippletree::Balance;
//! use whippletree::sticky::{Session, SessionState, StickyLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let balance = Balance::builder().endpoints(["10.0.0.1:80", "10.0.0.2:80"])?.connect(|_| {
//!     service_fn(|_: Request<()>| async { Ok::<_, std::io::Error>(Response::new(String::new())) })
//! })?;
//! let layer = StickyLayer::builder().key("32 bytes from a random generator").build(balance.cluster())?;
//! let service = layer.layer(balance);
//!
//! let first = service.clone().oneshot(Request::new(())).await?;
//! let session: &Session = first.extensions().get().expect("every response says whose it is");
//! assert_eq!(session.state, SessionState::New);
//! let cookie = first.headers()[header::SET_COOKIE].to_str()?.split(';').next().unwrap_or_default();
//!
//! let request = Request::builder().header(header::COOKIE, cookie).body(())?;
//! let second = service.oneshot(request).await?;
//! let again: &Session = second.extensions().get().expect("every response says whose it is");
//! assert_eq!((again.id, &again.home), (session.id, &session.home));
//! # Ok::<(), whippletree::BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # Divert is not rebind
//!
//! When the home cannot serve a request, another endpoint does, and the home stays the home:
//!
//! | the home is | this request | the session |
//! |---|---|---|
//! | up, in drain, or of weight 0 | goes home | stays |
//! | full | is diverted | stays |
//! | down, ejected, not yet proven | is diverted | stays for [`rebind_after`](Builder::rebind_after), 30 s; then it is rebound |
//! | in maintenance, past its drain deadline, removed by discovery | goes elsewhere | is rebound |
//!
//! **Diverted requests of a session all go to one endpoint**, which every balancer finds alike
//! ([`Context::with_stand_in`](crate::Context::with_stand_in)), and that is where the session is rebound if
//! it comes to that: the user changes servers once, not with every click.
//!
//! An endpoint that discovery has removed is gone for its sessions at once: unlike one that is down
//! it is not expected back, though its counters are kept for a while. Where discovery blips, let a
//! probe say who is down, and the source say who exists.
//!
//! # How sessions are counted
//!
//! Each balancer estimates how many sessions every endpoint is home to
//! ([`EndpointStatus::sessions`](crate::cluster::EndpointStatus::sessions)), without a list of them: the token says
//! when its session was counted last, so counting it again takes the older count back. A session that
//! sends its requests through one balancer, at least one in 13/16 of [`active`](Builder::active), is
//! counted exactly once, from its first request; after a restart, from the first that comes when its
//! token is 1/8 of `active` old. What errs:
//!
//! - A session that ends is counted on until 13/16 to 17/16 of `active` after its last request.
//! - Each request of a client that keeps no cookies begins a session, and counts for that long. So do
//!   parallel first requests of one browser, all but one of them in vain.
//! - With several balancers each counts the sessions whose tokens it renews. Where users change
//!   between balancers all the time, one may take back what another has counted, and counts too few;
//!   shares stay right, sums do not.
//!
//! New sessions begin [where there are the fewest](NewSessions::Even), whatever the policy.
//!
//! # Cooperative migration
//!
//! Affinity makes load uneven: users of one kind come together and stay together. Above
//! [`max_imbalance`](Builder::max_imbalance) times the mean, sessions leave an endpoint, but **only at
//! safe points**: when the application says by the header [`safe_point`](Builder::safe_point) or the
//! extension [`SafePoint`] that nothing is lost after this response (the form is saved, the exam
//! handed in), or, if [`migrate_idle`](Builder::migrate_idle) allows it, when the session has been idle.
//! An endpoint in [drain](crate::cluster::Admin::Drain) is left at the first safe point, however even the
//! load is. Moves are [limited in rate](Builder::migrate_rate), [counted](Counts), told as
//! [events](crate::event::Event::SessionsMoved), and may be [preceded](Builder::on_move) by a hand-over of the
//! application's own. A session moves at most once a minute, and requests that were under way
//! follow it (in this process; another balancer does not know of the move until the browser sends
//! the new cookie).
//!
//! # The token
//!
//! ```text
//! version 2 │ endpoint tag 16 │ session 8 │ issued 6 │ last seen 6 │ HMAC-SHA-256, first half 16
//! ```
//!
//! in base64url, 72 characters. The endpoint tag is a keyed digest of the endpoint's id, so neither
//! address nor id can be read or guessed without the key; it depends on nothing else but the cluster's
//! name. The digest at the end also covers the cookie's name and the cluster's: no token passes for
//! one of another site's. Who holds a token can choose among the endpoints that serve, no more. What is
//! no token, or forged, past [`idle`](Builder::idle) or [`absolute`](Builder::absolute), or more than a
//! minute ahead of the clock, is ignored and [counted](Counts), and the first good one counts. At most
//! 64 KiB of `Cookie` headers and 32 tokens are looked at.
//!
//! The cookie is `HttpOnly; SameSite=Lax; Path=/`, `Secure` if the request came over TLS, and ends with
//! the browser. It is set only when it changes, or when its token is 1/8 of `active` old; the response is
//! then `Cache-Control: private`. Endpoints neither see it nor can set one of its name.

mod answer;
mod base64;
mod builder;
mod cookie;
mod counters;
mod directory;
mod future;
mod hand_over;
mod header;
mod keys;
mod layer;
mod migration;
mod pace;
mod recent;
mod service;
mod session;
mod token;
mod visit;

pub use self::builder::Builder;
pub use self::cookie::{SameSite, Secure};
pub use self::counters::Counts;
pub use self::future::ResponseFuture;
pub use self::layer::{NewSessions, OnMiss, StickyLayer};
pub use self::service::Sticky;
pub use self::session::{OverTls, SafePoint, Session, SessionId, SessionState};
