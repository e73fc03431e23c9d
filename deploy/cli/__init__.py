"""What pyinfra's command line needs: arguments of a verb, waves, how one host fails and no other."""
