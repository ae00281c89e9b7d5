#!/usr/bin/env bash
# Runs an Apache Kafka of one node in FOLDER. The first start makes its certificates and formats its storage; a later
# one finds both. FOLDER/server.properties is the caller's, with USER and PASSWORD for SCRAM.
#
# usage: kafka.sh FOLDER JARS USER PASSWORD
set -euo pipefail
folder=$1 jars=$2 user=$3 password=$4
cd "$folder"

# Small and quick to start: one compiler tier, one collector thread. Java does not look at TMPDIR by itself.
java=(java -Xms64m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData "-Djava.io.tmpdir=$folder/tmp"
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*")

# certificate NAME SUBJECT ARGUMENT...: NAME.key, and NAME.pem signed as the arguments say.
certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -sha256 \
        -keyout "$1.key" -out "$1.pem" -subj "/CN=$2" "${@:3}" 2>>certificates.log || { cat certificates.log; exit 1; }
}

if [ ! -e formatted ]; then
    certificate ca "test stack authority"
    certificate server 127.0.0.1 -CA ca.pem -CAkey ca.key -addext "subjectAltName=IP:127.0.0.1,DNS:localhost" \
        -addext "basicConstraints=critical,CA:FALSE"
    certificate client client -CA ca.pem -CAkey ca.key -addext "basicConstraints=critical,CA:FALSE"
    cat server.key server.pem >server-both.pem
    rm -rf data
    "${java[@]}" kafka.tools.StorageTool format --standalone --config server.properties \
        --cluster-id "$(head -c 22 /proc/sys/kernel/random/uuid)" \
        --add-scram "SCRAM-SHA-256=[name=$user,password=$password]" \
        --add-scram "SCRAM-SHA-512=[name=$user,password=$password]" >format.log 2>&1 || { cat format.log; exit 1; }
    touch formatted
fi
exec "${java[@]}" kafka.Kafka server.properties
