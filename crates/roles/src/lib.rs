//! Role grammar and profiles: text to roles.
