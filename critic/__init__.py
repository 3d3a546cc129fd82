"""From prompts to preference pairs: candidates, judge, rules, pipeline. No torch, no SQL, no web framework."""
