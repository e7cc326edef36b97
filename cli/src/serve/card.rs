//! What a person sees when the server is up: where it is, and two things to try that work as printed.

use std::net::SocketAddr;
use std::path::Path;

/// `key_variable` names the environment variable with the API key that the server asks for, if it asks for one.
pub(super) fn print(address: SocketAddr, data: &Path, key_variable: Option<&str>) {
    println!("{}", text(address, data, key_variable));
}

fn text(address: SocketAddr, data: &Path, key_variable: Option<&str>) -> String {
    let (access, import, key, header) = match key_variable {
        None => (
            "whoever reaches this address, so it listens on this machine only by default".to_owned(),
            String::new(),
            "\"\"".to_owned(),
            String::new(),
        ),
        Some(variable) => (
            format!("with the API key that is in {variable}, sent as X-API-Key"),
            "os, ".to_owned(),
            format!("os.environ[\"{variable}\"]"),
            format!(" -H \"X-API-Key: ${variable}\""),
        ),
    };
    let url = format!("http://{address}");
    let data = data.display();
    format!(
        r#"
  Sealdex {version} is up
    REST     {url}/v1
    docs     {url}/v1/docs
    data     {data}  (sealed; each index under its owner's key)
    access   {access}

  Python   python3 -m venv venv && venv/bin/pip install -q cyborgdb && venv/bin/python
    import {import}secrets, cyborgdb
    client = cyborgdb.Client("{url}", {key})
    index = client.create_index("hello-" + secrets.token_hex(3), secrets.token_bytes(32))
    index.upsert([{{"id": "a", "vector": [0.1, 0.2], "contents": "first"}},
                  {{"id": "b", "vector": [0.9, 0.8]}}])
    print(index.query([0.1, 0.3], top_k=1))

  curl
    KEY=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n') NAME=hi-$(date +%s)-$$
    curl -s {url}/v1/indexes/create -H 'Content-Type: application/json'{header} -d '{{"index_name":"'$NAME'","index_key":"'$KEY'"}}'
    curl -s {url}/v1/vectors/upsert -H 'Content-Type: application/json'{header} -d '{{"index_name":"'$NAME'","index_key":"'$KEY'","items":[{{"id":"a","vector":[0.1,0.2]}}]}}'
    curl -s {url}/v1/vectors/query -H 'Content-Type: application/json'{header} -d '{{"index_name":"'$NAME'","index_key":"'$KEY'","query_vectors":[0.1,0.3],"top_k":1,"include":["distance"]}}'
"#,
        version = env!("CARGO_PKG_VERSION"),
    )
}
