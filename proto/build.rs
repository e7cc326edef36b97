//! Compiles the messages of the .proto files with protox, so that no protoc has to be installed. The services of those that cross a
//! network are generated where the network is: common/peer/build.rs.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 5] = [
        "proto/partition.proto",
        "proto/catalog.proto",
        "proto/peer.proto",
        "proto/shard.proto",
        "proto/coordinator.proto",
    ];
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["proto"])?;
    prost_build::Config::new()
        .bytes(["."])
        .skip_debug(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
