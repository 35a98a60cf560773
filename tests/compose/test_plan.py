"""Decisions of compose: the order of services, and which containers are kept, replaced, removed and created."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.compose import project_names as names
from netd.compose.model import ComposeProject, ComposeService, Dependency, ServiceVolume
from netd.compose.plan import references
from netd.compose.plan.dependencies import closure, edges, in_order, reversed_edges
from netd.compose.plan.existing import existing, orphans
from netd.compose.plan.service_plan import FORCE, NEVER, DesiredState, check_scale, desired_state, plan_service

DESIRED = DesiredState(config_hash="new", image_id="i", network_ids=frozenset({"n"}), volumes=frozenset({"v"}))


def container(number, config_hash="new", *, image="i", networks=("n",), volumes=("v",), state="running", **labels):
    return existing({
        "Id": f"{number:064x}",
        "Names": [f"/p-web-{number}", "/other/link"],
        "State": state,
        "Created": number,
        "Labels": {names.SERVICE: "web", names.NUMBER: str(number), names.CONFIG_HASH: config_hash, names.IMAGE: image,
                   names.ONE_OFF: "False", **labels},
        "NetworkSettings": {"Networks": {id: {"NetworkID": id} for id in networks}},
        "Mounts": [{"Type": "volume", "Name": name} for name in volumes],
    })  # fmt: skip


def numbers(containers):
    return [found.number for found in containers]


def test_an_up_to_date_container_is_kept_and_a_missing_one_created_with_the_next_number():
    plan = plan_service([container(2)], DESIRED, 3)
    assert (numbers(plan.keep), plan.recreate, plan.remove, plan.create) == ([2], (), (), (3, 4))


@pytest.mark.parametrize(
    "different",
    [
        container(1, "old"),
        container(1, image="other"),
        container(1, networks=()),
        container(1, volumes=()),
        container(1, volumes=(), state="exited"),
    ],
)
def test_a_container_with_another_configuration_image_network_or_volume_is_replaced(different):
    plan = plan_service([different], DESIRED, 1)
    assert numbers(plan.recreate) == [1] and not plan.create
    assert numbers(plan_service([different], DESIRED, 1, NEVER).keep) == [1]


def test_a_stopped_container_is_not_replaced_because_it_has_no_addresses():
    assert numbers(plan_service([container(1, networks=(), state="exited")], DESIRED, 1).keep) == [1]


def test_force_replaces_all_and_zero_replicas_remove_all():
    found = [container(1), container(2)]
    assert numbers(plan_service(found, DESIRED, 2, FORCE).recreate) == [1, 2]
    assert numbers(plan_service(found, DESIRED, 0).remove) == [1, 2]


def test_containers_that_differ_are_removed_before_those_with_high_numbers():
    found = [container(1, "old"), container(2), container(3)]
    plan = plan_service(found, DESIRED, 2)
    assert (numbers(plan.keep), numbers(plan.remove)) == ([2, 3], [1])
    assert numbers(plan_service([container(1), container(2), container(3)], DESIRED, 2).remove) == [3]


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), unique_by=lambda pair: pair[0]), st.integers(0, 20))
def test_a_plan_leaves_as_many_containers_as_wanted_with_numbers_of_their_own(found, replicas):
    containers = [container(number, "new" if fresh else "old") for number, fresh in found]
    plan = plan_service(containers, DESIRED, replicas)
    left = numbers(plan.keep) + numbers(plan.recreate) + list(plan.create)
    assert len(left) == len(set(left)) == replicas
    touched = numbers(plan.keep) + numbers(plan.recreate) + numbers(plan.remove)
    assert sorted(touched) == sorted(number for number, _ in found)


def test_a_container_name_of_the_file_forbids_a_second_container():
    check_scale("web", ComposeService(container_name="x"), 1)
    with pytest.raises(ValueError, match="remove container_name from the compose file to scale the service"):
        check_scale("web", ComposeService(container_name="x"), 2)


def services(**needs):
    return {
        key: ComposeService(depends_on={name: Dependency(condition="service_started") for name in wanted})
        for key, wanted in needs.items()
    }


def test_services_follow_those_whose_volumes_namespaces_and_links_they_use():
    found = services(db=(), cache=(), web=("db",))
    found["side"] = ComposeService(network_mode="service:web", volumes_from=["cache:ro", "container:x"], links=["db:d"])
    graph = edges(found)
    assert graph["side"] == {"web", "cache", "db"}
    assert in_order(graph) == ["cache", "db", "web", "side"]
    assert closure(graph, ["web"]) == ["db", "web"]
    assert reversed_edges(graph)["db"] == {"web", "side"}


def test_a_cycle_is_refused_with_its_services():
    with pytest.raises(ValueError, match="dependency cycle detected: a -> b -> c -> a"):
        edges(services(a=("b",), b=("c",), c=("a",), d=("a",)))


@given(st.dictionaries(st.integers(0, 30), st.sets(st.integers(0, 30)), max_size=31))
def test_an_order_places_each_service_after_what_it_needs(graph):
    acyclic = {
        str(key): frozenset(str(need) for need in needs if need < key and need in graph) for key, needs in graph.items()
    }
    order = in_order(acyclic)
    assert sorted(order) == sorted(acyclic)
    assert all(order.index(need) < order.index(key) for key, needs in acyclic.items() for need in needs)


def test_orphans_are_containers_of_services_that_the_file_does_not_have_but_not_those_of_run():
    found = [container(1), existing({"Id": "x", "Labels": {names.SERVICE: "old", names.ONE_OFF: "True"}})]
    assert orphans(ComposeProject(name="p", services={"web": ComposeService()}), found) == []
    assert orphans(ComposeProject(name="p"), found) == found[:1]


def test_references_to_a_service_without_container_are_refused():
    with pytest.raises(ValueError, match="cannot share network namespace with service db: container missing"):
        references.resolved(ComposeService(network_mode="service:db"), {})
    with pytest.raises(ValueError, match="cannot share volume with service db: container missing"):
        references.resolved(ComposeService(volumes_from=["db"]), {"db": []})


def test_links_have_the_names_of_version_one_of_compose():
    containers = {"web": [container(1)]}
    found = references.links("p", ComposeService(links=["web:w"], external_links=["e"]), 2, containers)
    assert found == ["p-web-1:w", "p-web-1:web-2", "p-web-1:p-web-2", "e:e"]


def test_labels_of_dependencies_are_read_as_they_are_written():
    service = ComposeService(depends_on={"b": Dependency(condition="service_healthy", restart=True)})
    assert names.dependencies_label(service) == "b:service_healthy:true"
    assert names.dependencies_of_label("b:service_healthy:true,,c") == {
        "b": ("service_healthy", True),
        "c": ("service_started", False),
    }


def test_names_of_containers_and_images():
    assert names.container_name("p", "web", ComposeService(), 2) == "p-web-2"
    assert names.container_name("p", "web", ComposeService(), 2, "_") == "p_web_2"
    assert names.container_name("p", "web", ComposeService(container_name="x"), 1) == "x"
    assert names.image_name("p", "web", ComposeService()) == "p-web"
    assert names.image_name("p", "web", ComposeService(image="x")) == "x"


def test_volumes_without_a_name_do_not_count_as_desired():
    service = ComposeService(
        volumes=[ServiceVolume(type="volume", target="/a"), ServiceVolume(type="bind", source="/x")]
    )

    assert desired_state(ComposeProject(name="p"), service, "h", "i", {}).volumes == frozenset()
