//! A shard node that a compose project does not have: it joins under load, stays a while, and is gone for good.

use super::container::Container;
use super::machine::{Done, Machine};
use sealdex_tests::docker::{docker, inspect};
use serde_json::Value;
use std::path::Path;

/// What such a node is made from: a node that is there. It differs in its name, its certificate and its empty disk.
pub(crate) struct Guest {
    name: String,
    /// That node's container, name and network.
    like: (String, String, String),
}

impl Guest {
    /// A guest named `name`, like that node. Its certificate lies beside the node's own.
    pub(crate) fn like(node: &Container, name: &str) -> Result<Self, String> {
        let network = node.network_of_peers()?.to_owned();
        Ok(Self {
            name: name.to_owned(),
            like: (node.id().to_owned(), node.name().to_owned(), network),
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Starts it on an empty disk.
    pub(crate) fn come(&self) -> Result<Container, String> {
        let (model, model_name, network) = &self.like;
        let model = inspect(model)?;
        let mut arguments: Vec<String> = [
            "create",
            "--pull",
            "never",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges:true",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("--network", network.clone());
        option("--network-alias", self.name.clone());
        option("--user", text(&model["Config"]["User"]));
        // Then whoever takes the project down takes the guest too.
        for label in ["com.docker.compose.project", "com.docker.compose.oneoff"] {
            option(
                "--label",
                format!("{label}={}", text(&model["Config"]["Labels"][label])),
            );
        }
        option("--label", format!("com.docker.compose.service={}", self.name));
        for variable in list(&model["Config"]["Env"]) {
            option("--env", text(variable));
        }
        for mount in list(&model["Mounts"]) {
            match text(&mount["Destination"]).as_str() {
                "/data" => {}
                "/certs" => option(
                    "--volume",
                    format!("{}:/certs:ro", certificate(&model, &self.name)?),
                ),
                other => option("--volume", format!("{}:{other}:ro", text(&mount["Source"]))),
            }
        }
        arguments.push(text(&model["Config"]["Image"]));
        let command = list(&model["Config"]["Cmd"]).map(|word| text(word).replace(model_name, &self.name));
        arguments.extend(command);
        let id = docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        docker(&["start", &id])?;
        Container::of_peers(&inspect(&id)?, network)
    }

    /// Takes it away with its disk.
    pub(crate) fn go(guest: &Container) -> Done {
        docker(&["rm", "-fv", guest.id()]).map(drop)
    }
}

/// Where the certificate of the node `name` lies, if it lies where the one of `model` does.
fn certificate(model: &Value, name: &str) -> Result<String, String> {
    let own = list(&model["Mounts"]).find(|mount| mount["Destination"] == "/certs");
    let own = own
        .map(|mount| text(&mount["Source"]))
        .ok_or("it has no certificate")?;
    let folder = Path::new(&own).parent().ok_or("its certificate lies nowhere")?;
    Ok(folder.join(name).to_string_lossy().into_owned())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
