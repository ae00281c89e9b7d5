//! Uploads that crashed processes have left: found once, when the sink opens, and aborted as their lanes open.
//!
//! Lanes belong to whoever holds the checkpoint store, and a lane's hash is in the key: an upload with the hash of a
//! lane that is opened here was begun by this pipeline before, or by a process that has lost the store. The list is
//! taken before this process begins any upload, so none of its own is in it.

use std::collections::HashMap;

use aws_sdk_s3::Client;

use super::names;
use crate::aws::{Place, explain};

/// Pages that are read: 20,000 uploads. A lifecycle rule ends what is beyond.
const PAGES: usize = 20;

/// Uploads under the prefix, by lane hash: key and upload id. Without leave to list them, nothing is cleaned.
pub(super) async fn uploads(
    client: &Client,
    bucket: &str,
    fixed: &str,
    place: &Place,
) -> HashMap<String, Vec<(String, String)>> {
    let mut found: HashMap<String, Vec<(String, String)>> = HashMap::new();
    let (mut key_marker, mut id_marker) = (None, None);
    for _ in 0..PAGES {
        let call = client.list_multipart_uploads().bucket(bucket).prefix(fixed);
        let call = call.set_key_marker(key_marker.take()).set_upload_id_marker(id_marker.take());
        let page = match call.send().await {
            Ok(page) => page,
            Err(error) => {
                let error = explain(&error, "s3:ListBucketMultipartUploads", place);
                tracing::warn!(%error, "uploads that a crash has left are not cleaned up");
                return found;
            }
        };
        for upload in page.uploads() {
            if let (Some(key), Some(id)) = (upload.key(), upload.upload_id())
                && let Some(lane) = names::lane_of(key)
            {
                found.entry(lane.to_owned()).or_default().push((key.to_owned(), id.to_owned()));
            }
        }
        if !page.is_truncated().unwrap_or_default() {
            break;
        }
        key_marker = page.next_key_marker;
        id_marker = page.next_upload_id_marker;
    }
    found
}
