//! What commits and views pay for others: validation of transactions that read much or long, and views beside large commits.

mod large_commits;
mod late_ranges;
mod many_reads;
mod paused;
mod written_ahead;
