"""The interview (`airdiscovery`): guided questions, a typed profile, a recommended destination. See docs/interview.md."""
