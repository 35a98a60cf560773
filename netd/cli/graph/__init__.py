"""Pictures of the topology: text for terminals, Graphviz, Mermaid.  Pure: the topology is passed in as JSON."""
