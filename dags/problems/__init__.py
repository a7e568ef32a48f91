"""One module or package per problem. `ml.problem` explains what it contains."""
