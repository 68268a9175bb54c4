"""Many volumes with a table of prompts: each case a task for this process or a cluster, resumable, one report."""
