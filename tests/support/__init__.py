"""What the tests share. A test module imports from here and from `deploy`, never from another test module or a conftest."""
