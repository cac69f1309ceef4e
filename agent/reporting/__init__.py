"""Tables, figures, HTML, notebook objects and exports."""
