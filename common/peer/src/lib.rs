//! How nodes of a deployment know and reach each other: certificates, identity, channels.
#![forbid(unsafe_code)]
