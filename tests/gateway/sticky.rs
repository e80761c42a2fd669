//! `[sticky]`: a session per browser, told in the statistics.

use crate::support::{Backend, Gateway};

fn file(backends: &[&Backend], sticky: &str) -> String {
    let endpoint = |backend: &&Backend| {
        let flag = backend.flag();
        let (id, address) = flag.split_once('=').expect("id and address");
        format!("[[cluster.endpoints]]\nid = \"{id}\"\naddress = \"{address}\"\n")
    };
    let endpoints: String = backends.iter().map(endpoint).collect();
    format!("[cluster]\npolicy = \"round_robin\"\n{endpoints}[sticky]\n{sticky}")
}

#[tokio::test]
async fn browser_stays_where_it_began_and_other_gateways_with_the_key_agree() {
    let (a, b) = (Backend::named("a").await, Backend::named("b").await);
    let keys = "keys = [\"0123456789abcdef0123456789abcdef\"]";
    let text = file(&[&a, &b], &format!("cookie = \"S\"\nidle = \"30m\"\n{keys}"));
    let (one, other) = (Gateway::with_file(&text).await, Gateway::with_file(&text).await);
    for expected in ["1", "2", "3"] {
        let browser = reqwest::Client::builder().cookie_store(true).build().unwrap();
        let get = async |gateway: &Gateway| {
            let response = browser.get(format!("http://{}/", gateway.listen)).send().await;
            response.unwrap().text().await.unwrap()
        };
        let home = get(&one).await;
        for gateway in [&one, &other, &one, &other] {
            assert_eq!(get(gateway).await, home);
        }
        let rows = one.stats().await;
        let sessions = rows["endpoints"].as_array().unwrap().iter();
        let sum: u64 = sessions.map(|row| row["sessions"].as_u64().unwrap()).sum();
        assert_eq!(sum.to_string(), expected);
    }
}
