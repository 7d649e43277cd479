//! Following a bucket from elsewhere.
