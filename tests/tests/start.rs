//! Starts that cannot succeed: the server ends at once and says what to do.
#![allow(clippy::unwrap_used)]

use sealdex_tests::server::Home;

#[tokio::test]
async fn a_second_server_on_the_same_data_is_told_what_to_do() {
    let home = Home::new();
    let first = home.start().await;
    let refused = home.try_start().await.err().expect("the data is in use");
    assert!(!refused.status.success());
    let data = home.data().display().to_string();
    for words in [
        data.as_str(),
        "is in use",
        "stop that process",
        "another --data-dir",
    ] {
        assert!(refused.said.contains(words), "{words}: {}", refused.said);
    }
    assert_eq!(first.http.get("/v1/health").await.unwrap().status, 200);
    first.kill();
    home.start().await.stop().await;
}
