//! Streams, consumers and buckets as files, compared with the server and applied to it.
