"""Files that outlive a request: in a folder, or in an object store."""

from rotoscope.storage.bucket import Bucket, Stored
from rotoscope.storage.incoming import Incoming
from rotoscope.storage.storage import Storage, Upload, content_type_of, open_storage, upload_id

__all__ = [
    "Bucket",
    "Incoming",
    "Storage",
    "Stored",
    "Upload",
    "content_type_of",
    "open_storage",
    "upload_id",
]
