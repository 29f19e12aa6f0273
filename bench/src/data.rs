//! Real activities, or what looks like them from afar.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;

/// What the sizes of 12,766 activities of a public stream of commits were, in bytes, at each twentieth of them.
const SIZES: [usize; 20] =
    [214, 218, 223, 226, 230, 232, 235, 238, 240, 242, 245, 248, 250, 253, 256, 260, 264, 270, 284, 645];

/// The activities of a compressed file, one in each line; without one, some of such sizes.
///
/// # Errors
/// A sentence.
pub(crate) fn objects(path: Option<&Path>) -> Result<Arc<[Vec<u8>]>, String> {
    let Some(path) = path else { return Ok(SIZES.map(stand_in).into()) };
    let trouble = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let lines = BufReader::new(GzDecoder::new(File::open(path).map_err(trouble)?)).split(b'\n');
    let objects = lines.collect::<Result<Arc<[_]>, _>>().map_err(trouble)?;
    match objects.iter().all(|object| object.starts_with(b"{") && object.ends_with(b"}"))
        && !objects.is_empty()
    {
        true => Ok(objects),
        false => Err(format!("{} holds what is no activity", path.display())),
    }
}

/// An activity of `size` bytes.
fn stand_in(size: usize) -> Vec<u8> {
    let beginning = concat!(
        r#"{"actor":"dev-00000000","published":"2012-10-29T09:12:25-07:00","type":"Commit","object":"#,
        r#"{"id":"6c33e7b1607e","repository":"some/where","summary":""#
    );
    let end = r#"","files":2,"insertions":26,"deletions":0}}"#;
    let letters = (0..size - beginning.len() - end.len()).map(|index| char::from(b'a' + (index % 26) as u8));
    format!("{beginning}{}{end}", letters.collect::<String>()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_an_activity_of_its_size() {
        for (object, size) in objects(None).unwrap().iter().zip(SIZES) {
            assert_eq!(object.len(), size);
            common::wire::Activity::parse(std::str::from_utf8(object).unwrap()).unwrap();
        }
    }
}
