// Package deploy holds what docker-compose.yml runs the servers of three regions with: the configuration of NATS and Redis, the topology file, and
// the script that makes the passwords. There is no code to import; the tests beside it keep these files equal to what the code needs.
package deploy
