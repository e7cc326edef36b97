//! `sealdex bench` against a real server: what cannot work is refused before time is spent, a run that is stopped leaves no
//! index behind, and what is searched, compared and drawn is what was measured.
#![allow(clippy::unwrap_used)]

use sealdex_tests::server::{Home, Server, binary};
use serde_json::Value;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn bench(url: &str, options: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(["bench", "--url", url])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn url(server: &Server) -> String {
    format!("http://{}", server.http.address())
}

async fn indexes(server: &Server) -> Vec<Value> {
    let listed = server.http.get("/v1/indexes/list").await.unwrap().ok();
    listed["indexes"].as_array().unwrap().clone()
}

#[track_caller]
fn refused(output: &Output, cure: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(cure) && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_before_the_run() {
    let home = Home::new();
    let server = home.start().await;
    let nowhere = home.data().join("no/such/folder/report.json");
    let output = bench(&url(&server), &["-o", nowhere.to_str().unwrap()])
        .output()
        .unwrap();
    refused(&output, "choose another --output");
    for shape in ["clustered:99999999999x99999", "clustered:99999999999999x128"] {
        let output = bench(&url(&server), &["--generate", shape]).output().unwrap();
        refused(&output, "--generate");
    }
    assert_eq!(indexes(&server).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_deletes_its_index_and_reports_what_it_saw() {
    let home = Home::new();
    let server = home.start().await;
    for signal in ["-TERM", "-INT"] {
        let report = home.data().with_file_name(format!("report{signal}.json"));
        let options = [
            "--generate",
            "clustered:100000x32:8",
            "--batch",
            "20",
            "--max-queries",
            "10",
            "-o",
            report.to_str().unwrap(),
        ];
        let mut run = bench(&url(&server), &options).spawn().unwrap();
        until_it_has_an_index(&server, &mut run).await;
        let sent = Command::new("kill")
            .args([signal, &run.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let output = run.wait_with_output().unwrap();
        refused(&output, "interrupted");
        assert_eq!(indexes(&server).await, Vec::<Value>::new(), "after {signal}");
        let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        assert_eq!(report["error"], "interrupted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_is_searched_for_a_recall_and_two_reports_are_compared_and_drawn() {
    let home = Home::new();
    let server = home.start().await;
    let file = |name: &str| home.folder().join(name).to_str().unwrap().to_owned();
    let (old, new) = (file("old.json"), file("new.json"));
    for (target, report) in [("0.5", &old), ("0.9", &new)] {
        let plot = report.replace("json", "svg");
        let options = [
            "--generate",
            "clustered:4000x32:8",
            "--parts",
            "ingest,query",
            "--lists",
            "40",
            "--clients",
            "1,2",
            "--max-queries",
            "200",
            "--seconds",
            "0.2",
            "--target-recall",
            target,
            "--plot",
            &plot,
            "-o",
            report,
        ];
        let printed = succeeds(&mut bench(&url(&server), &options));
        assert!(printed.contains("is reached fastest"), "{printed}");
        let points = read(report)["points"].as_array().unwrap().clone();
        let parts: Vec<&str> = points
            .iter()
            .map(|point| point["part"].as_str().unwrap())
            .collect();
        assert_eq!(parts, ["query", "matched", "query", "matched"]);
        let target: f64 = target.parse().unwrap();
        for point in points.iter().filter(|point| point["part"] == "matched") {
            assert!(point["recall"].as_f64().unwrap() >= target, "{point}");
        }
        assert_eq!(dots(&plot), points.len());
    }

    let both = file("both.svg");
    let printed = succeeds(Command::new(binary()).args(["bench", "--compare", &old, &new, "--plot", &both]));
    for words in [
        "old",
        "new",
        "better by",
        "upload, vectors/s",
        "1 client, binary",
        "2 clients, binary",
    ] {
        assert!(printed.contains(words), "{words} is not in\n{printed}");
    }
    assert_eq!(dots(&both), 8);

    for (field, value, reason) in [
        ("k", 100, "--k differ: 10 and 100"),
        ("format", 99, "later sealdex"),
    ] {
        let mut changed = read(&new);
        match field {
            "k" => changed["settings"]["k"] = value.into(),
            other => changed[other] = value.into(),
        }
        let other = file("changed.json");
        std::fs::write(&other, changed.to_string()).unwrap();
        let output = Command::new(binary())
            .args(["bench", "--compare", &old, &other])
            .output()
            .unwrap();
        refused(&output, reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_is_followed_while_it_changes_and_taken_away() {
    let home = Home::new();
    let server = home.start().await;
    let report = home.folder().join("change.json").to_str().unwrap().to_owned();
    let options = [
        "--generate",
        "clustered:4000x16:6",
        "--parts",
        "change",
        "--max-queries",
        "200",
        "--seconds",
        "0.1",
        "--batch",
        "300",
        "-o",
        &report,
    ];
    let printed = succeeds(&mut bench(&url(&server), &options));
    assert!(printed.contains("all moved"), "{printed}");
    let report = read(&report);
    let changes = report["changes"].as_array().unwrap();
    let vectors: Vec<u64> = changes
        .iter()
        .map(|change| change["vectors"].as_u64().unwrap())
        .collect();
    assert_eq!(vectors, [1000, 1500, 4000, 2000, 2000, 2000, 2000, 2000, 2000]);
    for change in changes {
        // What was taken out, or never put in, would be wrong.
        let point = &change["as_it_is"];
        assert_eq!(
            (&point["wrong"], &point["short"]),
            (&0.into(), &0.into()),
            "{change}"
        );
        assert!(point["recall"].as_f64().unwrap() >= 0.9, "{change}");
        let ends = ["+300 %", "all replaced", "all moved"]
            .map(Value::from)
            .contains(&change["stage"]);
        assert_eq!(change["trained_again"].is_object(), ends, "{change}");
    }
    assert_eq!(report["ingest"], Value::Null);
    assert_eq!(indexes(&server).await, Vec::<Value>::new());
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn read(report: &str) -> Value {
    serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap()
}

/// How many points a plot shows.
fn dots(plot: &str) -> usize {
    std::fs::read_to_string(plot).unwrap().matches("<circle").count()
}

async fn until_it_has_an_index(server: &Server, run: &mut Child) {
    let given_up = Instant::now() + Duration::from_secs(60);
    while indexes(server).await.is_empty() {
        assert!(run.try_wait().unwrap().is_none(), "the run has ended by itself");
        assert!(Instant::now() < given_up, "the run never makes an index");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
