//! Folders, and copies of them: a disk as it was at one moment, for whoever damages it, brings it back, or has stolen it.

use sealdex_canary::files_under;
use std::path::Path;
use tempfile::TempDir;

/// Puts a copy of every file below `from` at the same place below `to`; makes the folders that it takes.
pub fn copy(from: &Path, to: &Path) {
    for file in files_under(from).expect("our own folder can be read") {
        let place = file.strip_prefix(from).expect("it was found below the folder");
        let target = to.join(place);
        let folder = target.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).expect("our own folder is writable");
        std::fs::copy(&file, &target).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// A copy of a folder. Removed on drop.
pub fn copy_of(folder: &Path) -> TempDir {
    let made = tempfile::tempdir().expect("a temporary folder can be made");
    copy(folder, made.path());
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_copy_has_every_file_in_its_place_and_keeps_it() {
        let original = tempfile::tempdir().unwrap();
        let inner = original.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(original.path().join("top"), "1").unwrap();
        fs::write(inner.join("below"), "2").unwrap();
        let copy = copy_of(original.path());
        fs::write(inner.join("below"), "changed since").unwrap();
        assert_eq!(files_under(copy.path()).unwrap().len(), 2);
        assert_eq!(fs::read_to_string(copy.path().join("top")).unwrap(), "1");
        assert_eq!(fs::read_to_string(copy.path().join("a/b/below")).unwrap(), "2");
    }
}
