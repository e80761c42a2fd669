//! A wrong file or flag: exit code 2, and one line that names the file, the key and the value.

use std::process::{Command, Output};

use crate::support::{File, program};

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().expect("the gateway runs")
}

/// Asserts that the gateway refuses to start in one line with all of `parts`.
fn refuses(arguments: &[&str], parts: &[&str]) {
    let output = run(arguments);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{arguments:?} {error}");
    assert_eq!(error.lines().count(), 1, "{arguments:?} {error}");
    assert!(output.stdout.is_empty());
    for part in parts {
        assert!(error.contains(part), "{arguments:?}: no {part:?} in {error}");
    }
}

#[test]
fn wrong_flags_are_refused() {
    refuses(&["--lissten", "127.0.0.1:0"], &["--lissten"]);
    refuses(&["--listen", "localhost"], &["--listen", "localhost"]);
    refuses(&["--admin", "127.0.0.1:70000"], &["--admin", "127.0.0.1:70000"]);
    refuses(&["--listen"], &["--listen"]);
    refuses(&["gateway.toml"], &["gateway.toml"]);
    refuses(&["--policy", "fastest"], &["--policy", "fastest"]);
    refuses(&["--endpoint", "nowhere"], &["--endpoint", "nowhere"]);
    refuses(&["--endpoint", "a=b:1,weight=70000"], &["--endpoint", "weight", "70000"]);
    refuses(&["--endpoint", "a=b:1,height=1"], &["--endpoint", "height=1"]);
    refuses(&["--endpoint", "a=b:1", "--endpoint", "a=c:1"], &["flags", "id", "\"a\""]);
    refuses(&["--endpoint", "a=https://b:1"], &["https"]);
}

#[test]
fn wrong_files_are_refused() {
    let endpoint = "[[cluster.endpoints]]\nid = \"a\"\naddress = \"127.0.0.1:1\"\n";
    for (text, parts) in [
        ("listen = \"here\"", vec![":1: ", "listen", "here"]),
        ("threads = 0", vec!["threads = 0"]),
        ("threads = 100000", vec!["threads = 100000"]),
        ("release_delay = \"soon\"", vec!["release_delay", "soon"]),
        ("shutdown_timeout = 30", vec!["shutdown_timeout = 30"]),
        ("admin_writes = \"yes\"", vec!["admin_writes", "yes"]),
        ("expose_endpoint = \"yes\"", vec!["expose_endpoint", "yes"]),
        ("# a comment\nlissten = \"127.0.0.1:0\"", vec![":2: ", "lissten", "127.0.0.1:0"]),
        ("[cluster]\npollicy = \"p2c\"", vec![":2: ", "pollicy", "p2c"]),
        ("[cluster]\npolicy = \"fastest\"", vec!["policy", "fastest"]),
        ("[cluster]\ncost = \"money\"", vec!["cost", "money"]),
        ("[cluster]\nfail_fast = \"soon\"", vec!["fail_fast", "soon"]),
        ("[[cluster.endpoints]]\naddress = \"nowhere\"", vec!["address", "nowhere"]),
        ("[[cluster.endpoints]]\nid = \"a\"", vec!["address"]),
        ("[[cluster.endpoints]]\naddress = \"a:1\"\nweight = 70000", vec!["weight", "70000"]),
        ("[[cluster.endpoints]]\naddress = \"a:1\"\nid = \"\"", vec!["id", "\"\""]),
        ("[[cluster.endpoints]]\naddress = \"https://a:1\"", vec!["address", "https"]),
        ("[[cluster.endpoints]]\naddress = \"a:1\"\ncolor = \"red\"", vec![":3: ", "color", "red"]),
        (&endpoint.repeat(2), vec!["endpoints.id", "\"a\""]),
        ("listen = ", vec![":1: ", "listen"]),
        ("listen = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"", vec![":2: ", "listen"]),
        ("\u{1b}[31m = 1", vec![":1: "]),
    ] {
        let file = File::new(text);
        let mut parts = parts;
        parts.push(file.path());
        refuses(&["--config", file.path()], &parts);
    }
}

#[test]
fn wrong_failover_parameters_are_refused_with_their_place() {
    for (text, parts) in [
        ("[failover]\nattempts = 0", &["failover: attempts", "\"0\" is not in 1..=100"][..]),
        ("[failover]\nhedge = \"soon\"", &["failover: hedge", "soon"]),
        ("[failover]\nper_try_timeout = 2", &["per_try_timeout = 2"]),
        ("[failover]\nretries = 2", &["retries"]),
    ] {
        let file = File::new(text);
        refuses(&["--config", file.path()], &[&[file.path()], parts].concat());
    }
}

#[test]
fn wrong_health_parameters_are_refused_with_their_place() {
    for (text, parts) in [
        ("[cluster]\npanic_threshold = 101", &["panic_threshold", "101"][..]),
        ("[cluster]\nspill = \"some\"", &["spill", "some", "strict, proportional"]),
        ("[cluster]\nfailback = \"soon\"", &["failback", "soon"]),
        ("[cluster]\nslow_start = \"30\"", &["slow_start"]),
        ("[cluster.outlier]\nmax_ejection_percent = 200", &["outlier.max_ejection_percent", "200"]),
        ("[cluster.outlier]\nbackoff = \"cubic\"", &["outlier.backoff", "cubic"]),
        ("[cluster.outlier]\nenable = true", &["enable"]),
        ("[cluster.probe]\npath = \"health\"", &["probe.path", "health"]),
        ("[cluster.probe]\nexpect = [\"2xx\"]", &["probe.expect", "2xx"]),
        ("[cluster.probe]\nintervall = \"5s\"", &["intervall"]),
        ("[cluster.probe]\ninitial = \"maybe\"", &["probe.initial", "maybe"]),
        ("[queue]\nsize = -1", &["size = -1"]),
        ("[queue]\ntimeout = \"soon\"", &["timeout", "soon"]),
        ("[[cluster.endpoints]]\naddress = \"a:1\"\nmax_in_flight = -1", &["max_in_flight = -1"]),
    ] {
        let file = File::new(text);
        refuses(&["--config", file.path()], &[&[file.path()], parts].concat());
    }
}

#[test]
fn missing_file_is_refused_by_name() {
    refuses(&["--config", "/nowhere/gateway.toml"], &["/nowhere/gateway.toml"]);
}

#[test]
fn help_is_no_error() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("--endpoint"));
}

#[test]
fn port_that_is_taken_is_told_with_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(&["--listen", &address, "--admin", "127.0.0.1:0"]);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(error.lines().count() == 1 && error.contains("listen") && error.contains(&address));
}
