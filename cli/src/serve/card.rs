//! What a person sees when the server is up: where it is, and two things to try that work as printed.

use std::net::SocketAddr;
use std::path::Path;

pub(super) fn print(address: SocketAddr, data: &Path) {
    println!("{}", text(address, data));
}

fn text(address: SocketAddr, data: &Path) -> String {
    let url = format!("http://{address}");
    let data = data.display();
    format!(
        r#"
  Sealdex {version} is up
    REST     {url}/v1
    docs     {url}/v1/docs
    data     {data}  (sealed; each index under its owner's key)
    access   whoever reaches this address, so it listens on this machine only by default

  Python   pip install cyborgdb
    import secrets, cyborgdb
    client = cyborgdb.Client("{url}", "")
    index = client.create_index("hello", secrets.token_bytes(32))
    index.upsert([{{"id": "a", "vector": [0.1, 0.2], "contents": "first"}},
                  {{"id": "b", "vector": [0.9, 0.8]}}])
    print(index.query([0.1, 0.3], top_k=1))

  curl
    KEY=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
    curl -s {url}/v1/indexes/create -H 'Content-Type: application/json' -d '{{"index_name":"hi","index_key":"'$KEY'"}}'
    curl -s {url}/v1/vectors/upsert -H 'Content-Type: application/json' -d '{{"index_name":"hi","index_key":"'$KEY'","items":[{{"id":"a","vector":[0.1,0.2]}}]}}'
    curl -s {url}/v1/vectors/query -H 'Content-Type: application/json' -d '{{"index_name":"hi","index_key":"'$KEY'","query_vectors":[0.1,0.3],"top_k":1,"include":["distance"]}}'
"#,
        version = env!("CARGO_PKG_VERSION"),
    )
}
