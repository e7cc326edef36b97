//! Everything that crosses a process; nothing here is shipped.
