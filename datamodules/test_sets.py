"""Several datasets in one test."""

from collections.abc import Sequence

from datamodules.base import HSIDataModule
from datamodules.samples import AnyScene, Batch, EvaluationSet, check_case
from datamodules.scene import DataError


class JoinedScenes(EvaluationSet):
    """The test scenes of several datasets, numbered through.

    Args:
        sets: Test scenes by the names that their datasets have in the table.
    """

    def __init__(self, sets: dict[str, EvaluationSet]) -> None:
        self.places = [(scenes, index) for scenes in sets.values() for index in range(len(scenes))]
        self.items = [
            item._replace(dataset=name) for name, scenes in sets.items() for item in scenes.items
        ]
        self.cubes = [cube for scenes in sets.values() for cube in scenes.cubes]

    def __getitem__(self, index: int) -> Batch:
        """One scene under one case."""
        scenes, place = self.places[index]
        return scenes[place] | {"index": index, "dataset": self.items[index].dataset}


class TestSets(HSIDataModule):
    """Tests on several datasets at once; there is nothing to train on.

    Args:
        sets: A data module for each dataset, by the name that it has in the table.
        test_noise: Noise cases for all of them; by default those of each.
        num_workers: Processes that prepare test scenes; 0 does it in the main process.
        seed: Nothing follows from it here: there is no training.
        evaluation_seed: All noise follows from it; by default from that of each.

    Raises:
        ValueError: If there are no sets, or a noise case is unknown.
    """

    __test__ = False  # to pytest, a class of this name is a test
    name = "test_sets"

    def __init__(
        self,
        sets: dict[str, HSIDataModule],
        test_noise: Sequence[str] | None = None,
        num_workers: int = 0,
        seed: int = 2018,
        evaluation_seed: int | None = None,
    ) -> None:
        super().__init__(num_workers=num_workers, seed=seed)
        if not sets:
            raise ValueError("data.sets is empty; name at least one dataset")
        for case in test_noise or ():
            check_case(case)
        self.sets = sets
        for data in sets.values():
            if evaluation_seed is not None:
                data.evaluation_seed = evaluation_seed
            data.test_noise = test_noise or data.test_noise

    def scenes(self, split: str) -> Sequence[AnyScene]:
        """None: the sets have their own."""
        raise DataError(f"several test sets have nothing to {split}; name one dataset for that")

    def prepare_data(self) -> None:
        """Prepares each set that prepares itself."""
        for data in self.sets.values():
            data.prepare_data()

    def setup(self, stage: str) -> None:
        """Opens the test scenes of every set.

        Raises:
            DataError: If one of them has none, or the stage is not the test.
        """
        if stage != "test":
            self.scenes(stage)
        missing = []
        for data in self.sets.values():
            try:
                data.setup(stage)
            except DataError as error:
                missing.append(str(error))
        if missing:
            raise DataError("\n\n".join(missing))
        self.test_set = JoinedScenes({name: data.test_set for name, data in self.sets.items()})
