//! What the launcher tells the agent, as bytes.
