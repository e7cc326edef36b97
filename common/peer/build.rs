//! Generates clients and servers of the services between nodes. Their messages are those of the formats' crate, which knows no network.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FOLDER: &str = "../../proto/proto";
    const FILES: [&str; 3] = ["peer.proto", "shard.proto", "coordinator.proto"];
    println!("cargo:rerun-if-changed={FOLDER}");
    let descriptors = protox::compile(FILES, [FOLDER])?;
    tonic_prost_build::configure()
        .extern_path(".sealdex.peer.v1", "::sealdex_proto::peer")
        .extern_path(".sealdex.shard.v1", "::sealdex_proto::shard")
        .extern_path(".sealdex.coordinator.v1", "::sealdex_proto::coordinator")
        .extern_path(".sealdex.catalog.v1", "::sealdex_proto::catalog")
        .extern_path(".sealdex.partition.v1", "::sealdex_proto::partition")
        .compile_fds(descriptors)?;
    Ok(())
}
